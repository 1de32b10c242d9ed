package otelpool_test

import (
	"context"
	"fmt"
	"log"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/tenantpool/tenantpool/pools"
	"github.com/tenantpool/tenantpool/pools/otelpool"
)

// Spans and metrics go to the providers that the program has; here, into memory.
func Example() {
	ctx := context.Background()
	spans, metrics := tracetest.NewInMemoryExporter(), sdkmetric.NewManualReader()
	tracer, err := otelpool.New(
		otelpool.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))),
		otelpool.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(metrics))),
	)
	if err != nil {
		log.Fatal(err)
	}
	manager, err := pools.Open(ctx, config(), pools.WithTracer(tracer), pools.WithLogger(nil))
	if err != nil {
		log.Fatal(err)
	}
	defer manager.Close(ctx)
	registration, err := tracer.Observe(manager)
	if err != nil {
		log.Fatal(err)
	}
	defer registration.Unregister()

	if err := manager.System().Ping(ctx); err != nil {
		log.Fatal(err)
	}
	for _, s := range spans.GetSpans() {
		if s.Name == "tenantpool.acquire" {
			fmt.Println(s.Name)
		}
	}
	var all metricdata.ResourceMetrics
	if err := metrics.Collect(ctx, &all); err != nil {
		log.Fatal(err)
	}
	for _, m := range all.ScopeMetrics[0].Metrics {
		fmt.Println(m.Name)
	}
	// Unordered output:
	// tenantpool.acquire
	// db.client.connection.count
	// db.client.connection.create_time
	// db.client.connection.max
	// db.client.connection.pending_requests
	// db.client.connection.use_time
	// db.client.connection.wait_time
}
