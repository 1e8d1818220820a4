// Package price adds up what a basket costs.
package price
