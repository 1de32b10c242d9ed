package bench

import (
	"encoding/json"
	"io"
)

// WriteJSON writes the result as one line.
func (r *Result) WriteJSON(out io.Writer) error { return json.NewEncoder(out).Encode(r) }
