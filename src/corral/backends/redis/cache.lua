-- The cache: one script, so that what belongs together happens together. ARGV[1] says what to do, the rest is the work's own.
-- Under the prefix `corral:cache:` are
--   e:PLACE   an entry: value, kind, times; goes by itself when its time is over
--   l:PLACE   who asks for it
--   sizes, ends, uses, tags   of each PLACE: its size, its end, its last use, its tags
--   t:TENANT NUL TAG          the places under a tag
--   a:TENANT                  the tenant's places
--   g:TENANT                  its generation
--   s:TENANT                  its numbers, KIND:entries and so on
-- A PLACE is TENANT NUL KEY.
local P = 'corral:cache:'
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local NUL = string.char(0)

local function place_of(tenant, key)
    return tenant .. NUL .. key
end

local function tenant_of(place)
    return string.sub(place, 1, string.find(place, NUL, 1, true) - 1)
end

local function forget(place)
    local known = redis.call('HGET', P .. 'sizes', place)
    if not known then
        return 0
    end
    local kind, size = string.match(known, '^(%a+):(%d+)$')
    local tenant = tenant_of(place)
    local tags = redis.call('HGET', P .. 'tags', place)
    if tags then
        for _, tag in ipairs(cjson.decode(tags)) do
            redis.call('SREM', P .. 't:' .. tenant .. NUL .. tag, place)
        end
        redis.call('HDEL', P .. 'tags', place)
    end
    redis.call('DEL', P .. 'e:' .. place)
    redis.call('HDEL', P .. 'sizes', place)
    redis.call('ZREM', P .. 'ends', place)
    redis.call('ZREM', P .. 'uses', place)
    redis.call('SREM', P .. 'a:' .. tenant, place)
    redis.call('DECRBY', P .. 'bytes', size)
    redis.call('HINCRBY', P .. 's:' .. tenant, kind .. ':entries', -1)
    redis.call('HINCRBY', P .. 's:' .. tenant, kind .. ':bytes', -tonumber(size))
    return 1
end

local function found(place)
    local entry = redis.call('HMGET', P .. 'e:' .. place, 'value', 'made', 'fresh', 'over')
    if not entry[1] or tonumber(entry[4]) <= now then
        return false
    end
    return {
        entry[1],
        string.format('%.6f', now - entry[2]),
        string.format('%.6f', entry[3] - now),
        string.format('%.6f', entry[4] - now),
    }
end

local work = {}

-- tenant, keys …: the generation, then an entry or false for each key
function work.get(tenant, ...)
    local answer = { tonumber(redis.call('GET', P .. 'g:' .. tenant) or 0) }
    for n, key in ipairs({ ... }) do
        answer[n + 1] = found(place_of(tenant, key))
    end
    return answer
end

-- tenant, then for each: key, value, kind, ttl, stale, tags in JSON (or nothing), generation (or nothing); how many were kept
function work.put(tenant, ...)
    local given, kept = { ... }, 0
    local generation = redis.call('GET', P .. 'g:' .. tenant) or '0'
    for n = 1, #given, 7 do
        local place = place_of(tenant, given[n])
        redis.call('DEL', P .. 'l:' .. place)
        if given[n + 6] == '' or given[n + 6] == generation then
            local value, kind, tags = given[n + 1], given[n + 2], given[n + 5]
            local fresh = now + given[n + 3]
            local over = fresh + given[n + 4]
            forget(place)
            local entry = P .. 'e:' .. place
            redis.call('HSET', entry, 'value', value, 'made', string.format('%.6f', now),
                'fresh', string.format('%.6f', fresh), 'over', string.format('%.6f', over))
            redis.call('PEXPIRE', entry, math.max(1, math.ceil((over - now) * 1000)))
            redis.call('HSET', P .. 'sizes', place, kind .. ':' .. #value)
            redis.call('ZADD', P .. 'ends', string.format('%.6f', over), place)
            redis.call('ZADD', P .. 'uses', string.format('%.6f', now), place)
            redis.call('SADD', P .. 'a:' .. tenant, place)
            if tags ~= '' then
                redis.call('HSET', P .. 'tags', place, tags)
                for _, tag in ipairs(cjson.decode(tags)) do
                    redis.call('SADD', P .. 't:' .. tenant .. NUL .. tag, place)
                end
            end
            redis.call('INCRBY', P .. 'bytes', #value)
            redis.call('HINCRBY', P .. 's:' .. tenant, kind .. ':entries', 1)
            redis.call('HINCRBY', P .. 's:' .. tenant, kind .. ':bytes', #value)
            kept = kept + 1
        end
    end
    return kept
end

-- tenant, key, holder, lease in seconds: whether it is the holder's, and the entry if it is fresh
function work.claim(tenant, key, holder, lease)
    local place = place_of(tenant, key)
    local entry = found(place)
    if entry and tonumber(entry[3]) > 0 then
        return { 0, entry }
    end
    local holds = redis.call('GET', P .. 'l:' .. place)
    if holds and holds ~= holder then
        return { 0, false }
    end
    redis.call('SET', P .. 'l:' .. place, holder, 'PX', math.max(1, math.ceil(lease * 1000)))
    return { 1, false }
end

-- tenant, key, holder
function work.release(tenant, key, holder)
    local lease = P .. 'l:' .. place_of(tenant, key)
    if redis.call('GET', lease) == holder then
        redis.call('DEL', lease)
    end
    return 0
end

-- tenant, kind (or nothing), 'all' or 'tags', tags …: how many went
function work.drop(tenant, kind, which, ...)
    redis.call('INCR', P .. 'g:' .. tenant)
    local sets, gone = { P .. 'a:' .. tenant }, 0
    if which == 'tags' then
        sets = {}
        for n, tag in ipairs({ ... }) do
            sets[n] = P .. 't:' .. tenant .. NUL .. tag
        end
    end
    for _, set in ipairs(sets) do
        for _, place in ipairs(redis.call('SMEMBERS', set)) do
            local known = redis.call('HGET', P .. 'sizes', place)
            if known and (kind == '' or string.match(known, '^(%a+):') == kind) then
                local there = redis.call('EXISTS', P .. 'e:' .. place)
                forget(place)
                gone = gone + there
            end
        end
    end
    return gone
end

-- for each: tenant, kind, hits, misses, saved, how many keys, keys …
function work.tally(...)
    local given, n = { ... }, 1
    while n <= #given do
        local tenant, kind = given[n], given[n + 1]
        local numbers = P .. 's:' .. tenant
        redis.call('HINCRBY', numbers, kind .. ':hits', given[n + 2])
        redis.call('HINCRBY', numbers, kind .. ':misses', given[n + 3])
        redis.call('HINCRBYFLOAT', numbers, kind .. ':saved', given[n + 4])
        local count = tonumber(given[n + 5])
        for k = n + 6, n + 5 + count do
            redis.call('ZADD', P .. 'uses', 'XX', 'GT', string.format('%.6f', now), place_of(tenant, given[k]))
        end
        n = n + 6 + count
    end
    return 0
end

-- tenant: its numbers, by name
function work.stats(tenant)
    return redis.call('HGETALL', P .. 's:' .. tenant)
end

-- most entries, most bytes, limit: how many went
function work.sweep(entries_max, bytes_max, limit)
    local gone = 0
    for _, place in ipairs(redis.call('ZRANGE', P .. 'ends', '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)) do
        gone = gone + forget(place)
    end
    local excess = redis.call('ZCARD', P .. 'uses') - tonumber(entries_max)
    while gone < tonumber(limit) do
        local bytes = tonumber(redis.call('GET', P .. 'bytes') or 0)
        if excess <= 0 and bytes <= tonumber(bytes_max) then
            break
        end
        local oldest = redis.call('ZRANGE', P .. 'uses', 0, 0)[1]
        if not oldest then
            break
        end
        gone = gone + forget(oldest)
        excess = excess - 1
    end
    return gone
end

return work[ARGV[1]](unpack(ARGV, 2))
