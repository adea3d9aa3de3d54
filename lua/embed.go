// Package lua embeds the Redis side of the limiter, so that a built binary
// needs no file beside it. The contract of the script is in its own header.
package lua

import _ "embed"

// TokenBucket is the source of token_bucket.lua.
//
//go:embed token_bucket.lua
var TokenBucket string
