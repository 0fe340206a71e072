// Package exchange reads and writes the lines of python/exchange.py.
package exchange

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
)

// Line is one of the lines that a program is given.
type Line struct {
	Topic     string
	Codec     string
	Partition int32
	Timestamp int64
	Key       *string
	Value     *string
	Headers   [][2]*string
	From      int64
	Count     int
	At        any
}

// Place is where a record came to lie.
type Place struct {
	Partition int32 `json:"partition"`
	Offset    int64 `json:"offset"`
}

// Record is what was read.
type Record struct {
	Offset    int64        `json:"offset"`
	Timestamp int64        `json:"timestamp"`
	Key       *string      `json:"key"`
	Value     *string      `json:"value"`
	Headers   [][2]*string `json:"headers"`
}

// Must ends the program with the error.
func Must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Lines reads standard input.
func Lines() []Line {
	var lines []Line
	decoder := json.NewDecoder(bufio.NewReader(os.Stdin))
	for decoder.More() {
		var line Line
		Must(decoder.Decode(&line))
		lines = append(lines, line)
	}
	return lines
}

// Octets are the bytes of a text; nil for null.
func Octets(text *string) []byte {
	if text == nil {
		return nil
	}
	octets, err := hex.DecodeString(*text)
	Must(err)
	return octets
}

// Text is the text of bytes; null for nil.
func Text(octets []byte) *string {
	if octets == nil {
		return nil
	}
	text := hex.EncodeToString(octets)
	return &text
}

// Say prints an answer.
func Say(answer any) {
	text, err := json.Marshal(answer)
	Must(err)
	fmt.Println(string(text))
}
