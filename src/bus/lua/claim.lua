-- The first events that wait for a user, for one of its connections: for as long as that one lives, no other gets them.
-- Answers first whether another one has them.
-- KEYS offline, owner, conns  ARGV connection, how many to pass over, most, seconds of the claim
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local owner = redis.call('GET', KEYS[2])
if owner and owner ~= ARGV[1] then
  local lease = redis.call('ZSCORE', KEYS[3], owner)
  if lease and tonumber(lease) > now then return { 1, {} } end
end
local items = redis.call('LRANGE', KEYS[1], ARGV[2], ARGV[2] + ARGV[3] - 1)
if #items > 0 then redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[4]) end
return { 0, items }
