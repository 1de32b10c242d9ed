package door

import "testing"

func TestReplayingNamesWhatDiffers(t *testing.T) {
	of := func(list ...parameter) *settings { return newSettings(list) }
	const set, end = "pg_catalog.set_config('", ",false)"
	for _, c := range []struct {
		from, to *settings
		want     string
	}{
		{nil, nil, ""},
		{of(), nil, ""},
		{of(parameter{"a", "1"}), of(parameter{"A", "2"}, parameter{"a", "1"}), ""},
		{nil, of(parameter{"b", `it's \`}, parameter{"a", "é"}), "SELECT " + set +
			"a',pg_catalog.convert_from(pg_catalog.decode('c3a9','hex'),pg_catalog.getdatabaseencoding())" + end + "," +
			set + `b', E'it''s \\'` + end + ";"},
		{of(parameter{"a", "1"}, parameter{"c", "1"}), of(parameter{"a", "2"}, parameter{"b", "1"}), "SELECT " +
			set + "a','2'" + end + "," + set + "b','1'" + end + "," + set + "c',NULL" + end + ";"},
		{of(parameter{"statement_timeout", "1"}), nil, "RESET statement_timeout;"},
		{of(parameter{"statement_timeout", "1"}), of(parameter{"statement_timeout", "1"}), ""},
		{of(parameter{"statement_timeout", "1"}), of(parameter{"work_mem", "64"}, parameter{"statement_timeout", "1"}),
			"RESET statement_timeout;SELECT " + set + "work_mem','64'" + end + "," + set + "statement_timeout','1'" + end + ";"},
		{of(parameter{"default_transaction_deferrable", "on"}), nil, "BEGIN ISOLATION LEVEL READ COMMITTED NOT DEFERRABLE;SELECT " +
			set + "default_transaction_deferrable',NULL" + end + ";COMMIT"},
	} {
		if got := c.to.replay(c.from); got != c.want {
			t.Errorf("from %v to %v:\n%s\n%s", c.from.all(), c.to.all(), got, c.want)
		}
	}
}
