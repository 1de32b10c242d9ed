package replicas

// Abandon ends the control session without a word, and everything else of the Session.
func (s *Session) Abandon() {
	s.abandoned <- struct{}{}
	<-s.done
}
