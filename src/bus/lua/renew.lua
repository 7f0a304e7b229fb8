-- Begins a new epoch, where the old one's last offsets have been lost and would be given twice.
-- KEYS meta, stream  ARGV old epoch, new epoch
if redis.call('HGET', KEYS[1], 'e') == ARGV[1] then
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'e', ARGV[2], 'o', 0, 'b', 0)
end
return 0
