package door

import "slices"

// reportedSettings are those that the server reports of its own accord ("Asynchronous
// Operations" in the protocol's documentation).
var reportedSettings = []string{
	applicationName, "client_encoding", "DateStyle", "default_transaction_read_only", "in_hot_standby",
	"integer_datetimes", "IntervalStyle", "is_superuser", "scram_iterations", "search_path", "server_encoding",
	"server_version", "session_authorization", "standard_conforming_strings", "TimeZone",
}

// reported are settings as the server has reported them last. It is never changed.
type reported []parameter

// with is a copy with another value.
func (r reported) with(p parameter) reported {
	i := slices.IndexFunc(r, func(q parameter) bool { return q.name == p.name })
	if i < 0 {
		return append(r[:len(r):len(r)], p)
	}
	if r[i] == p {
		return r
	}
	r = slices.Clone(r)
	r[i] = p
	return r
}

// differingFrom are those whose value is another one than in o.
func (r reported) differingFrom(o reported) (differing []parameter) {
	if len(r) == len(o) && (len(r) == 0 || &r[0] == &o[0]) {
		return nil
	}
	for i, p := range r {
		if i < len(o) && o[i] == p {
			continue
		}
		if !slices.Contains(o, p) {
			differing = append(differing, p)
		}
	}
	return differing
}
