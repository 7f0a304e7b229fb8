-- Before each script that lets events wait for a user: the youngest stay, and what finds no room is counted.
local function let_wait(list, dropped, most, seconds, text)
  local waiting = redis.call('RPUSH', list, text)
  redis.call('EXPIRE', list, seconds)
  if waiting > tonumber(most) then
    redis.call('LTRIM', list, -tonumber(most), -1)
    redis.call('INCRBY', dropped, waiting - tonumber(most))
  end
end
-- The same for one that may wait already.
local function let_wait_once(list, dropped, most, seconds, text)
  if not redis.call('LPOS', list, text) then let_wait(list, dropped, most, seconds, text) end
end
