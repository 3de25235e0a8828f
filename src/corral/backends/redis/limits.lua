-- Put a body where the version is still that; what is there now, and the server's own clock.
-- KEYS[1] the key; ARGV[1] the version (-1: only look); ARGV[2] the body; ARGV[3] seconds after which nobody uses it.
local kept = redis.call('HMGET', KEYS[1], 'version', 'body')
local version = tonumber(kept[1] or 0)
local body = kept[2] or ''
local time = redis.call('TIME')
local done = 0
if tonumber(ARGV[1]) == version then
    -- Versions begin with the time: a key that was forgotten and came back is never taken for what it was.
    version = version == 0 and time[1] * 1000000 + time[2] or version + 1
    body = ARGV[2]
    redis.call('HSET', KEYS[1], 'version', string.format('%.0f', version), 'body', body)
    redis.call('EXPIRE', KEYS[1], ARGV[3])
    done = 1
end
return {done, body, version, time[1] .. '.' .. string.format('%06d', time[2])}
