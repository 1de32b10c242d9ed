package main

import (
	"context"
	"os"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/secret"
)

// warn says what serve would better not be given. It serves all the same: a trial on
// one's own machine needs no more.
func warn(ctx context.Context, manager *pools.Manager, log logrus.FieldLogger) {
	if os.Getenv(privateKeyVariable) != "" || os.Getenv(privateKeyVariable+secret.FileSuffix) != "" {
		log.Warn(privateKeyVariable + " is set: the server does not need it, and whoever breaks into the server could issue tokens; " +
			"take it out of its environment")
	}
	ctx, stop := context.WithTimeout(ctx, askRoleWithin)
	defer stop()
	var superuser bool
	err := manager.System().QueryRow(ctx, `SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = session_user`).Scan(&superuser)
	switch {
	case err != nil:
		log.WithField("error", err.Error()).Warn("It is not known whether DB_USER is a superuser")
	case superuser:
		log.Warn("DB_USER is a superuser: whoever has a service token can read all databases, and run programs on the database's machine; " +
			"use a role with the rights in SECURITY.md")
	}
}

const askRoleWithin = 2 * time.Second
