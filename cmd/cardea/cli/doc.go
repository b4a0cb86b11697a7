// Package cli is the command line: one file for each verb, and in one place
// each what they share (how the configuration is found, how rows are printed,
// which error ends with which code).
//
// stdout is the product, stderr the talk, and a question goes to the terminal.
// What others named (servers, users, reasons) is escaped before it is shown
// and checked before it is used.
package cli
