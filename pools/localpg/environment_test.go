//go:build unix

package localpg

import "testing"

func TestTheVariablesOfPostgreSQLsClientsAndServersDoNotMatter(t *testing.T) {
	for name, value := range map[string]string{
		"PGAPPNAME":            "somebody",
		"PGCHANNELBINDING":     "require",
		"PGCONNECT_TIMEOUT":    "soon",
		"PGDATA":               "/no/such/folder",
		"PGDATABASE":           "nope",
		"PGHOST":               "192.0.2.1",
		"PGMAXPROTOCOLVERSION": "1.0",
		"PGMINPROTOCOLVERSION": "9.9",
		"PGOPTIONS":            "-c no=such",
		"PGPASSFILE":           "/no/such/file",
		"PGPASSWORD":           "wrong",
		"PGPORT":               "1",
		"PGREQUIREAUTH":        "none",
		"PGSERVICE":            "nope",
		"PGSERVICEFILE":        "/no/such/file",
		"PGSSLCERT":            "/no/such/file",
		"PGSSLCERTMODE":        "",
		"PGSSLKEY":             "/no/such/file",
		"PGSSLMODE":            "require",
		"PGSSLNEGOTIATION":     "direct",
		"PGSSLPASSWORD":        "wrong",
		"PGSSLROOTCERT":        "/no/such/file",
		"PGSSLSNI":             "maybe",
		"PGTARGETSESSIONATTRS": "standby",
		"PGTZ":                 "Nowhere/Land",
		"PGUSER":               "nobody",
	} {
		t.Setenv(name, value)
	}
	s := started(t, Options{})
	if err := s.CreateDatabases(deadline(t), "one", "two"); err != nil {
		t.Error(err)
	}
	conn := opened(t, s, s.SuperuserDSN())
	if got := value[string](t, conn, "SELECT current_setting('application_name') || ' in ' || current_setting('TimeZone')"); got != "localpg in UTC" {
		t.Errorf("the session is %s, want localpg in UTC", got)
	}
}
