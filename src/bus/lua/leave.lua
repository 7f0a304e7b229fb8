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
  if #ARGV > 5 then
    -- Some may have waited all the time: they were shown to it from the stream.
    local waiting = 0
    for i = 6, #ARGV do
      if not redis.call('LPOS', KEYS[4], ARGV[i]) then waiting = redis.call('RPUSH', KEYS[4], ARGV[i]) end
    end
    redis.call('EXPIRE', KEYS[4], ARGV[5])
    if waiting > tonumber(ARGV[4]) then
      redis.call('LTRIM', KEYS[4], -tonumber(ARGV[4]), -1)
      redis.call('INCRBY', KEYS[5], waiting - tonumber(ARGV[4]))
    end
  end
end
return left
