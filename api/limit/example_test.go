package limit_test

import (
	"fmt"

	"weir/api/limit"
)

func ExampleLimit_Take() {
	l, err := limit.Parse("10/m,capacity=2")
	if err != nil {
		fmt.Println(err)
		return
	}
	var bucket limit.State // nobody has taken from it: full
	now := int64(1_760_000_000_000_000)
	for range 3 {
		var d limit.Decision
		d, bucket = l.Take(bucket, now, 1)
		fmt.Println(d.Allowed, d.Remaining, d.RetryAfter)
		now += 1_000_000
	}
	// Output:
	// true 1000000 0s
	// true 166666 0s
	// false 333333 4s
}
