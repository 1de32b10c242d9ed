//go:build race

package replicas

const underRaceDetector = true
