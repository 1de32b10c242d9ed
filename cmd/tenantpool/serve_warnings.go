package main

import (
	"context"
	"os"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/secret"
)

// warn logs what is unsafe in production. serve goes on all the same: for a trial on one's
// own machine it will do.
func warn(ctx context.Context, manager *pools.Manager, log logrus.FieldLogger) {
	if os.Getenv(privateKeyVariable) != "" || os.Getenv(privateKeyVariable+secret.FileSuffix) != "" {
		log.Warn(privateKeyVariable + " is set: the server does not need it, and whoever breaks into the server could issue tokens; " +
			"remove it from the environment")
	}
	ctx, stop := context.WithTimeout(ctx, askRoleWithin)
	defer stop()
	var superuser bool
	err := manager.System().QueryRow(ctx, `SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = session_user`).Scan(&superuser)
	switch {
	case err != nil:
		log.WithField("error", err.Error()).Warn("Could not find out whether DB_USER is a superuser")
	case superuser:
		log.Warn("DB_USER is a superuser: whoever has a service token can read all databases, and run programs on the database's machine; " +
			"use a role with the rights in SECURITY.md")
	}
}

const askRoleWithin = 2 * time.Second
