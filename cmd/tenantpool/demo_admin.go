package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"
	"time"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/door"
	"github.com/tenantpool/tenantpool/web"
)

// admin is the demo's admin server. Its keys and tokens are worth nothing after
// the demo. nil: there is none.
type admin struct {
	listener net.Listener
	door     *door.Door  // nil: there is none
	serving  *background // nil until it does
}

const (
	// demoTokens are good for longer than anybody watches a demo.
	demoTokens = 24 * time.Hour
	// adminEndsWithin: at the demo's end nobody waits for a dashboard.
	adminEndsWithin = time.Second
)

// listenAdmin takes the port, before all that takes time. An address that nobody
// asked for may be another one.
func listenAdmin(o demoOptions, con *stage.Console) (*admin, error) {
	if o.addr == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", o.addr)
	if errors.Is(err, syscall.EADDRINUSE) && !o.addrGiven {
		host, _, _ := net.SplitHostPort(o.addr)
		if l, err = net.Listen("tcp", net.JoinHostPort(host, "0")); err == nil {
			con.Printf("%s is taken, so the admin server is on another port (--addr chooses one)", o.addr)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("admin server: %w (--addr chooses another address, --addr \"\" none)", err)
	}
	return &admin{listener: l}, nil
}

// watch has it show the door, too. It comes before serve.
func (a *admin) watch(d *door.Door) {
	if a != nil {
		a.door = d
	}
}

// serve answers from now on, and says how to ask.
func (a *admin) serve(manager *pools.Manager, log *slog.Logger, con *stage.Console) error {
	if a == nil {
		return nil
	}
	pair := web.NewPrivateKey()
	options := web.Options{
		Keys:             []web.PublicKey{pair.Public()},
		Log:              log,
		WorkspaceMetrics: true,
		ShutdownTimeout:  adminEndsWithin,
	}
	if a.door != nil {
		options.Door = a.door.Stats
	}
	server, err := web.New(manager, options)
	if err != nil {
		return err
	}
	operator, err := web.Issue(pair, web.Claims{Subject: "demo operator", Role: web.Operator, TTL: demoTokens})
	if err != nil {
		return err
	}
	viewer, err := web.Issue(pair, web.Claims{Subject: "demo viewer", Role: web.Viewer, TTL: demoTokens})
	if err != nil {
		return err
	}
	a.serving = inBackground(func(ctx context.Context) {
		if err := server.Serve(ctx, a.listener); err != nil && ctx.Err() == nil {
			con.Printf("the admin server has ended: %v", err) // the demo goes on
		}
	})
	url := "http://" + reachable(a.listener.Addr())
	con.Printf("dashboard       %s/", url)
	con.Printf("operator token  %s", operator)
	con.Printf("viewer token    %s", viewer)
	// echo is the shell's own, so the token is on no command line, which everybody sees.
	con.Printf("statistics      echo 'Authorization: Bearer %s' | curl -sH @- %s/api/admin.connectionStats", operator, url)
	return nil
}

// reachable is an address that a browser on this machine can open, also where the
// server listens on all of them.
func reachable(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return addr.String()
	}
	return net.JoinHostPort("localhost", fmt.Sprint(tcp.Port))
}

// close ends it and gives the port back.
func (a *admin) close() {
	if a == nil {
		return
	}
	a.serving.stop()
	_ = a.listener.Close() // Serve has closed it, where it came that far
}
