package redislimit

import (
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// hashSlots is how many parts a Redis Cluster divides its keys into.
const hashSlots = 16384

// queues are what takes wait in: one call can only hold keys that are on one
// server, and on Redis Cluster in one hash slot.
type queues struct {
	one    *queue                  // of all keys; nil on a cluster
	slots  []atomic.Pointer[queue] // of the keys of each hash slot, made when first used
	newOne func() *queue
}

func newQueues(rdb redis.UniversalClient, newOne func() *queue) queues {
	if _, cluster := rdb.(*redis.ClusterClient); cluster {
		return queues{slots: make([]atomic.Pointer[queue], hashSlots), newOne: newOne}
	}
	return queues{one: newOne()}
}

// of returns the queue of a key.
func (qs *queues) of(key string) *queue {
	if qs.one != nil {
		return qs.one
	}
	place := &qs.slots[hashSlot(key)]
	if q := place.Load(); q != nil {
		return q
	}
	place.CompareAndSwap(nil, qs.newOne())
	return place.Load()
}

// hashSlot is the hash slot of a key: CRC-16/XMODEM of the key, or of what stands
// between its first { and the next } where that is not empty, modulo 16384
// (Redis Cluster specification, "Key distribution model").
func hashSlot(key string) uint16 {
	if open := strings.IndexByte(key, '{'); open >= 0 {
		if size := strings.IndexByte(key[open+1:], '}'); size > 0 {
			key = key[open+1 : open+1+size]
		}
	}
	crc := uint16(0)
	for i := range len(key) {
		crc = crc<<8 ^ crcTable[byte(crc>>8)^key[i]]
	}
	return crc % hashSlots
}

// crcTable has the remainders of all bytes by x^16 + x^12 + x^5 + 1.
var crcTable = func() (table [256]uint16) {
	for i := range table {
		crc := uint16(i) << 8
		for range 8 {
			carry := crc&0x8000 != 0
			crc <<= 1
			if carry {
				crc ^= 0x1021
			}
		}
		table[i] = crc
	}
	return table
}()
