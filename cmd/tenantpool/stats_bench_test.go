package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tenantpool/tenantpool/cmd/internal/stage"
	"github.com/tenantpool/tenantpool/web"
)

// BenchmarkTrafficBesideStatistics asks how much of the traffic's throughput 2,000
// requests a second for the statistics cost. Alone and beside them take turns; the
// ratio is the median of the pairs'. Who asks is on the same machine, and is part
// of the cost.
func BenchmarkTrafficBesideStatistics(b *testing.B) {
	const (
		pairs  = 15
		turn   = 2 * time.Second
		rate   = 2000 // a second
		askers = 4
	)
	con := stage.StartConsole(io.Discard)
	defer con.Stop()
	o := demoOptions{workspaces: 60, budget: 40, workers: 32, zipf: 1.2}
	st, err := setUp(b.Context(), o, con)
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := st.tearDown(&report{}, con); err != nil {
			b.Error(err)
		}
	}()
	address, token := startStatistics(b, st)

	traffic := func() float64 {
		ctx, stop := context.WithTimeout(b.Context(), turn)
		defer stop()
		began := time.Now()
		tally := stage.NewTraffic(st.manager, st.stage, o.zipf).Run(ctx, o.workers)
		return float64(tally.Requests) / time.Since(began).Seconds()
	}
	traffic() // warms up
	for b.Loop() {
		var alone, beside, ratios []float64
		var asked atomic.Int64
		for range pairs {
			alone = append(alone, traffic())
			ctx, stop := context.WithCancel(b.Context())
			var group errgroup.Group
			for range askers {
				group.Go(func() error { return ask(ctx, address, token, rate/askers, &asked) })
			}
			beside = append(beside, traffic())
			stop()
			if err := group.Wait(); err != nil {
				b.Fatal(err)
			}
			ratios = append(ratios, beside[len(beside)-1]/alone[len(alone)-1])
		}
		b.ReportMetric(median(alone), "alone-req/s")
		b.ReportMetric(median(beside), "beside-req/s")
		b.ReportMetric(median(ratios), "ratio")
		b.ReportMetric(float64(asked.Load())/(pairs*turn.Seconds()), "stats/s")
	}
}

func median(of []float64) float64 {
	of = slices.Sorted(slices.Values(of))
	return of[len(of)/2]
}

func startStatistics(b *testing.B, st *show) (address, token string) {
	b.Helper()
	log := slog.New(slog.NewJSONHandler(io.Discard, nil))
	pair := web.NewPrivateKey()
	server, err := web.New(st.manager, web.Options{Keys: []web.PublicKey{pair.Public()}, Log: log})
	if err != nil {
		b.Fatal(err)
	}
	token, err = web.Issue(pair, web.Claims{Subject: "benchmark", Role: web.Viewer, TTL: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, l) }()
	b.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	return l.Addr().String(), token
}

// ask sends so many requests a second on one connection, and reads the answers,
// with as little work of its own as it can.
func ask(ctx context.Context, address, token string, rate int, asked *atomic.Int64) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	request := fmt.Appendf(nil, "GET /api/admin.connectionStats HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", address, token)
	answers := bufio.NewReaderSize(conn, 64<<10)
	const beat = 10 * time.Millisecond
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	began, sent := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		for due := int(time.Since(began).Seconds() * float64(rate)); sent < due; sent++ {
			if _, err := conn.Write(request); err != nil {
				return err
			}
			if err := skipAnswer(answers); err != nil {
				return err
			}
			asked.Add(1)
		}
	}
}

// skipAnswer reads over an answer that says how long it is.
func skipAnswer(r *bufio.Reader) error {
	length := -1
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		switch {
		case err != nil:
			return err
		case first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")):
			return fmt.Errorf("the answer was %q", line)
		case len(line) == 2 && length < 0:
			return errors.New("the answer has no Content-Length")
		case len(line) == 2:
			_, err = r.Discard(length)
			return err
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
}
