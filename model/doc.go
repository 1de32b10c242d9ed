// Package model is what users and operators of tenantpool talk about: workspaces, the
// configuration and its limits, statistics, events, errors. It decides nothing, and
// imports nothing but pure parts of the standard library; every other package may
// import it.
package model
