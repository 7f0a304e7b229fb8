-- A node lives. Answers 0 where the others have taken it for dead, or Redis has lost all: it is to lease anew.
-- KEYS nodes, clients  ARGV node, seconds its counts stay, then tenant, connections…
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local known = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('DEL', KEYS[2])
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
redis.call('EXPIRE', KEYS[2], ARGV[2])
return known and 1 or 0
