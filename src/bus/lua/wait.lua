-- Lets events wait that were kept in the database while Redis was away, unless their user is here, or they wait already.
-- KEYS online, offline, dropped  ARGV user, most waiting, seconds they wait, then the events
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then return 0 end
for i = 4, #ARGV do let_wait_once(KEYS[2], KEYS[3], ARGV[2], ARGV[3], ARGV[i]) end
return 1
