-- Ends the lease of one connection, and tells how many the user has left. Safe to repeat.
-- KEYS online, conns, node_conns, offline, dropped, presence
-- ARGV user, connection, what the node's set calls it, most waiting, seconds they wait, then events that it did not confirm
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('SREM', KEYS[3], ARGV[3])
redis.call('ZREM', KEYS[2], ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local left = redis.call('ZCARD', KEYS[2])
if left == 0 then
  redis.call('SREM', KEYS[1], ARGV[1])
  if redis.call('EXISTS', KEYS[6]) == 1 then redis.call('SET', KEYS[6], t[1], 'KEEPTTL') end
  -- Some may have waited all the time: they were shown to it from the stream.
  let_wait_once(KEYS[4], KEYS[5], ARGV[4], ARGV[5], 6)
end
return left
