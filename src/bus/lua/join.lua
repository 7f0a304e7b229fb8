-- Leases connections of one user to a node; also the refresh of those leases, since it may follow a Redis that lost all.
-- KEYS online, presence, conns, node_conns, offline
-- ARGV user, lease ms, presence seconds, then for each connection its id and what the node's set calls it
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
local before = redis.call('ZCARD', KEYS[3])
for i = 4, #ARGV, 2 do
  redis.call('ZADD', KEYS[3], now + ARGV[2], ARGV[i])
  redis.call('SADD', KEYS[4], ARGV[i + 1])
end
redis.call('PEXPIRE', KEYS[3], ARGV[2] * 2)
redis.call('EXPIRE', KEYS[4], 86400)
redis.call('SET', KEYS[2], t[1], 'EX', ARGV[3])
redis.call('SADD', KEYS[1], ARGV[1])
return { before, redis.call('LLEN', KEYS[5]) }
