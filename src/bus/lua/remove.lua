-- What was read for certain waits no more.
-- KEYS offline, owner  ARGV connection, then the events
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
for i = 2, #ARGV do redis.call('LREM', KEYS[1], 1, ARGV[i]) end
return 1
