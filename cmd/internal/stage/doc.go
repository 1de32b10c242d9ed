// Package stage is what the demo, the bench and their tests play on.
package stage
