package replicas

// Member is the machine of one replica: what it may open. It owns no goroutine and does
// no I/O. The zero Member has registered nowhere and may open nothing.
type Member struct {
	// seq and promised are those of its row, as far as it knows.
	seq      int64
	promised int
	limit    int
	// connected: as far as it knows, it has a control session.
	connected bool
}

// Limit is how many connections it may have open, those being dialed and closed included.
func (m *Member) Limit() int { return m.limit }

// Beyond is how many of the dials that are among the open ones must not go on once the round
// trip is answered: those beyond what is promised. That the limit was lowered meanwhile is no
// reason, since they are open for the report (rule 2).
func (m *Member) Beyond(open int) int { return max(0, open-m.promised) }

// Registered takes over the row (rule 4).
func (m *Member) Registered(seq int64, promised int) {
	*m = Member{seq: seq, promised: promised, limit: promised, connected: true}
}

// Lost says that the control session is gone (rule 4).
func (m *Member) Lost(open int) {
	m.connected = false
	m.limit = min(m.limit, open)
}

// Read takes in the row (rules 1 and 2). What is older than what it knows changes nothing.
func (m *Member) Read(r Replica) {
	switch {
	case r.Seq < m.seq || !m.connected:
	case r.Seq > m.seq:
		m.seq, m.promised, m.limit = r.Seq, r.Promised, r.Granted
	default:
		m.promised, m.limit = r.Promised, min(m.limit, r.Granted)
	}
}

// Report is what there is to report: that no more is promised any longer, if the row's seq
// is still that one (rule 2). The next Read tells whether it was.
func (m *Member) Report(open int) (promised int, seq int64, ok bool) {
	promised = max(m.limit, open)
	return promised, m.seq, m.connected && promised < m.promised
}
