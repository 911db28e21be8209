package main

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
)

func integer(n uint64) []byte {
	if n < 251 {
		return []byte{byte(n)}
	}
	first, size := byte(0xFD), 8
	if n < 1<<16 {
		first, size = 0xFB, 2
	} else if n < 1<<32 {
		first, size = 0xFC, 4
	}
	bytes := make([]byte, 8)
	binary.LittleEndian.PutUint64(bytes, n)
	return append([]byte{first}, bytes[:size]...)
}

func uuid(text string) []byte {
	bytes, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(bytes) != 16 {
		panic(text + " is no UUID")
	}
	return bytes
}

func main() {
	slot := "a1763bb8-e29d-49d6-96a7-f5c772e3f47d" // the bid of golden/plain-1.ndjson
	bid := append([]byte{1}, uuid("47bebd67-e55d-4ee9-8357-a5ce22b27031")...)
	bid = append(append(bid, uuid(slot)...), uuid("36d9a8a6-2315-46eb-a0d7-57a434399401")...)
	region := "eu-central-1"
	bid = append(append(bid, integer(uint64(len(region)))...), region...)
	for _, n := range []uint64{54_000, 42, 9_300, 1_795_468_810_123} { // amount, latency, quality, event time
		bid = append(bid, integer(n)...)
	}
	hash := md5.Sum([]byte(slot)) // of the partition key
	fmt.Println(hex.EncodeToString(bid))
	fmt.Println(new(big.Int).SetBytes(hash[:]))
}
