-- Lets events wait that were kept in the database while Redis was away, unless their user is here, or they wait already.
-- KEYS online, offline, dropped  ARGV user, most waiting, seconds they wait, then the events
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then return 0 end
local waiting = 0
for i = 4, #ARGV do
  if not redis.call('LPOS', KEYS[2], ARGV[i]) then waiting = redis.call('RPUSH', KEYS[2], ARGV[i]) end
end
redis.call('EXPIRE', KEYS[2], ARGV[3])
if waiting > tonumber(ARGV[2]) then
  redis.call('LTRIM', KEYS[2], -tonumber(ARGV[2]), -1)
  redis.call('INCRBY', KEYS[3], waiting - tonumber(ARGV[2]))
end
return waiting
