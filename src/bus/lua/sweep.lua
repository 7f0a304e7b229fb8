-- Ends the leases of nodes that no longer beat, a few at a time. Answers tenant, user, tenant, user… of those who left.
-- KEYS nodes  ARGV dead after ms, most connections, prefix
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local gone = {}
for _, node in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[1])) do
  local set = ARGV[3] .. 'node_conns:' .. node
  local members = redis.call('SPOP', set, ARGV[2])
  for _, member in ipairs(members) do
    local tenant, conn, user = string.match(member, '^([^|]*)|([^|]*)|(.*)$')
    if tenant then
      local conns = ARGV[3] .. 'conns:' .. tenant .. ':' .. user
      redis.call('ZREM', conns, conn)
      redis.call('ZREMRANGEBYSCORE', conns, '-inf', now)
      if redis.call('ZCARD', conns) == 0 and redis.call('SREM', ARGV[3] .. 'online:' .. tenant, user) == 1 then
        table.insert(gone, tenant)
        table.insert(gone, user)
      end
    end
  end
  if redis.call('EXISTS', set) == 0 then
    redis.call('ZREM', KEYS[1], node)
    redis.call('DEL', ARGV[3] .. 'clients:' .. node)
  else
    break
  end
end
return gone
