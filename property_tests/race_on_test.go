//go:build race

package property_tests

const underRaceDetector = true
