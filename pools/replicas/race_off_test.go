//go:build !race

package replicas

const underRaceDetector = false
