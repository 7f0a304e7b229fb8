-- Ends the lease of one connection, and tells how many the user has left. Safe to repeat.
-- KEYS online, conns, node_conns, offline, dropped, presence, meta, stream
-- ARGV user, connection, what the node's set calls it, most waiting, seconds they wait, the user as JSON,
--      the place up to which its node had heard the tenant's events when it left: epoch ('' none), offset,
--      then events up to there that it did not confirm
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('SREM', KEYS[3], ARGV[3])
redis.call('ZREM', KEYS[2], ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local left = redis.call('ZCARD', KEYS[2])
if left == 0 then
  redis.call('SREM', KEYS[1], ARGV[1])
  if redis.call('EXISTS', KEYS[6]) == 1 then redis.call('SET', KEYS[6], t[1], 'KEEPTTL') end
  -- Some may have waited all the time: they were shown to it from the stream.
  for i = 9, #ARGV do let_wait_once(KEYS[4], KEYS[5], ARGV[4], ARGV[5], ARGV[i]) end
  -- What was on its way to the node found nobody there, and was published while the user still was.
  if ARGV[7] ~= '' and redis.call('HGET', KEYS[7], 'e') == ARGV[7] then
    local addressed = ',"user_id":' .. ARGV[6] .. ',"session_id":'
    for _, entry in ipairs(redis.call('XRANGE', KEYS[8], '(0-' .. ARGV[8], '+')) do
      local open = entry[2][1] == 'i' and entry[2][4] or ''
      local at = string.find(open, addressed, 1, true)
      -- The same words in its data are no address.
      if at and at < string.find(open, ',"data":', 1, true) then
        local text = open .. ',"epoch":"' .. ARGV[7] .. '","offset":' .. string.sub(entry[1], 3) .. '}'
        let_wait_once(KEYS[4], KEYS[5], ARGV[4], ARGV[5], text)
      end
    end
  end
end
return left
