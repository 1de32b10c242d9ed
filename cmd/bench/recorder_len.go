package bench

// Len is how many events there are so far.
func (r *Recorder) Len() int { return int(r.last.Load()) }
