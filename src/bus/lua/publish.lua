-- Gives an event its place, keeps it, tells the nodes, and lets it wait for a user who is away: all of it or nothing.
-- KEYS meta, stream, online, offline, dropped
-- ARGV channel, open frame, epoch if there is none yet, most events, most bytes, event id, look for it first (0|1),
--      user ('' none), most waiting, seconds they wait
local epoch = redis.call('HGET', KEYS[1], 'e')
if not epoch then
  epoch = ARGV[3]
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'e', epoch, 'o', 0, 'b', 0)
elseif ARGV[7] == '1' then
  for _, entry in ipairs(redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 2000)) do
    if entry[2][2] == ARGV[6] then return { epoch, tonumber(string.sub(entry[1], 3)), 0 } end
  end
end
local offset = redis.call('HINCRBY', KEYS[1], 'o', 1)
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], '0-' .. offset, 'i', ARGV[6], 't', ARGV[2])
local bytes = redis.call('HINCRBY', KEYS[1], 'b', #ARGV[2])
if bytes > tonumber(ARGV[5]) then
  redis.call('XTRIM', KEYS[2], 'MAXLEN', math.floor(redis.call('XLEN', KEYS[2]) / 2))
  redis.call('HSET', KEYS[1], 'b', math.floor(bytes / 2))
end
redis.call('EXPIRE', KEYS[2], 86400)
redis.call('EXPIRE', KEYS[1], 2592000)
local text = ARGV[2] .. ',"epoch":"' .. epoch .. '","offset":' .. offset .. '}'
redis.call('PUBLISH', ARGV[1], text)
if ARGV[8] ~= '' and redis.call('SISMEMBER', KEYS[3], ARGV[8]) == 0 then
  let_wait(KEYS[4], KEYS[5], ARGV[9], ARGV[10], text)
end
return { epoch, offset, 1 }
