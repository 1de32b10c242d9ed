package main

import (
	"context"
	"crypto/sha256"
	"os"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/secret"
	"github.com/tenantpool/tenantpool/web"
)

// reloadWithin bounds a reload, most of which is a login.
const reloadWithin = 20 * time.Second

// reloadable is what a reload replaces as a whole. The variables of a process are those
// that it was started with; what files say that they name may change.
type reloadable struct {
	what             string
	files, variables []string
}

var (
	reloadAccess = reloadable{
		"keys and metrics token",
		[]string{publicKeyVariable + secret.FileSuffix, metricsTokenVariable + secret.FileSuffix},
		[]string{publicKeyVariable, metricsTokenVariable},
	}
	reloadCredentials = reloadable{
		"credentials",
		[]string{"DB_PASSWORD" + secret.FileSuffix, "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY"},
		[]string{"DB_USER", "DB_PASSWORD"},
	}
	reloadDoor = reloadable{
		"users and certificates of the wire door",
		[]string{pgUsersVariable, pgCertVariable, pgKeyVariable, pgClientCAVariable},
		nil,
	}
)

// reload reads again what may change while the program runs. It replaces and logs each
// part separately: keys must be reloaded even while PostgreSQL is down.
func (s *serving) reload(ctx context.Context) {
	ctx, stop := context.WithTimeout(ctx, reloadWithin)
	defer stop()
	var o web.Options
	err := accessFromEnv(&o)
	if err == nil {
		err = s.server.SetAccess(o.Keys, o.MetricsToken)
	}
	s.reloaded(s.log, reloadAccess, err)
	log := s.log
	if !s.answered {
		log = log.WithField("checked", "no: PostgreSQL has not answered yet, and tries them when it does")
	}
	cfg, err := pools.ConfigFromEnv()
	if err == nil {
		err = s.manager.SetCredentials(ctx, cfg.User, cfg.Password)
	}
	s.reloaded(log, reloadCredentials, err)
	if s.door != nil {
		s.reloaded(s.log, reloadDoor, s.door.reload())
	}
}

// reloaded tells which files were read, which of them say something else than before,
// and what a reload cannot change. A file is named by its path, and only where it was
// good: by mistake a variable may hold a secret.
func (s *serving) reloaded(to logrus.FieldLogger, r reloadable, err error) {
	log := to.WithField("what", r.what)
	if err != nil {
		log.WithField("error", err.Error()).Error("Not reloaded: it stays as it was")
		return
	}
	changed, unchanged, asAtStart := []string{}, []string{}, []string{}
	for _, variable := range r.files {
		switch now, ok := fingerprint(variable); {
		case !ok:
		case now == s.reread[variable]:
			unchanged = append(unchanged, variable+"="+os.Getenv(variable))
		default:
			changed = append(changed, variable+"="+os.Getenv(variable))
			s.reread[variable] = now
		}
	}
	for _, variable := range r.variables {
		if os.Getenv(variable) != "" {
			asAtStart = append(asAtStart, variable)
		}
	}
	log.WithFields(logrus.Fields{"changed": changed, "unchanged": unchanged, "variables_as_at_start": asAtStart}).Info("Reloaded")
}

// reread holds the fingerprints of the files as they were last read.
type reread map[string][sha256.Size]byte

func newReread() reread {
	r := reread{}
	for _, variable := range slices.Concat(reloadAccess.files, reloadCredentials.files, reloadDoor.files) {
		if now, ok := fingerprint(variable); ok {
			r[variable] = now
		}
	}
	return r
}

// fingerprint identifies the content of the file that the variable names, which its readers
// have accepted.
func fingerprint(variable string) (sum [sha256.Size]byte, ok bool) {
	path := os.Getenv(variable)
	about, err := os.Stat(path)
	if err != nil || !about.Mode().IsRegular() { // none, or libpq's word "system"
		return sum, false
	}
	content, err := os.ReadFile(path)
	return sha256.Sum256(content), err == nil
}
