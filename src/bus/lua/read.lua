-- A tenant's epoch and last offset, and the events after one of them.
-- KEYS meta, stream  ARGV epoch if there is none yet, after, most
if redis.call('HSETNX', KEYS[1], 'e', ARGV[1]) == 1 then
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'o', 0, 'b', 0)
end
local meta = redis.call('HMGET', KEYS[1], 'e', 'o')
local entries = {}
if ARGV[3] ~= '0' then
  entries = redis.call('XRANGE', KEYS[2], '(0-' .. ARGV[2], '+', 'COUNT', ARGV[3])
end
return { meta[1], tonumber(meta[2]) or 0, entries }
