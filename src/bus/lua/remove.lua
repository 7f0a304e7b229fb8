-- What was read for certain waits no more.
-- KEYS offline, owner  ARGV connection, 1 to end the claim, then the events
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
for i = 3, #ARGV do redis.call('LREM', KEYS[1], 1, ARGV[i]) end
if ARGV[2] == '1' then redis.call('DEL', KEYS[2]) end
return 1
