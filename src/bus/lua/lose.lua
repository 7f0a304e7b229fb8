-- Takes a place for events that a node could not keep: whoever reads on from before it is told of a gap.
-- KEYS meta, stream  ARGV epoch if there is none yet
if redis.call('HSETNX', KEYS[1], 'e', ARGV[1]) == 1 then
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'o', 0, 'b', 0)
end
local offset = redis.call('HINCRBY', KEYS[1], 'o', 1)
redis.call('XADD', KEYS[2], '0-' .. offset, 'l', '1')
return offset
