-- The routes as nginx's workers share them, and the control job's side of it.
--
-- In the dictionary `routes`:
--   p:<uri>     a pool, JSON as diego.gorouter.core.documents writes it; its flags are the generation it came with
--   d:<host>    how many path segments the host's deepest route has
--   epoch       who filled the dictionary last; without it nginx has just started and knows nothing yet

local cjson = require "cjson.safe"

local routes = ngx.shared.routes
local M = {}

local decoded, count = {}, 0
local KEPT = 20000

-- The pool of exactly this route, nil when there is none. Decoded once per worker and change.
function M.pool(uri)
    local text = routes:get("p:" .. uri)
    if not text then
        return nil
    end
    local known = decoded[uri]
    if known and known.text == text then
        return known.pool
    end
    local pool = cjson.decode(text)
    if count >= KEPT then
        decoded, count = {}, 0
    end
    if not known then
        count = count + 1
    end
    decoded[uri] = { text = text, pool = pool }
    return pool
end

-- The deepest route of this very host name that the path lies in.
local function within(name, path)
    local depth = routes:get("d:" .. name)
    if not depth then
        return nil
    end
    local prefixes, uri = { name }, name
    for segment in path:gmatch("/([^/]+)") do
        if #prefixes > depth then
            break
        end
        uri = uri .. "/" .. segment
        prefixes[#prefixes + 1] = uri
    end
    for number = #prefixes, 1, -1 do
        local pool = M.pool(prefixes[number])
        if pool and #pool.endpoints > 0 then
            return pool, prefixes[number]
        end
    end
end

-- The pool that answers for a host and an escaped path: the longest registered prefix in whole segments,
-- else the same under `*.` wildcards, one label less each time.
function M.find(host, path)
    host, path = host:lower(), path:lower()
    local pool, uri = within(host, path)
    local rest = host
    while not pool do
        rest = rest:match("%.(.+)$")
        if not rest then
            return nil
        end
        pool, uri = within("*." .. rest, path)
    end
    return pool, uri
end

function M.filled()
    return routes:get("epoch") ~= nil
end

-- What the control job asks, on the socket that is its alone.

local function body()
    ngx.req.read_body()
    local data = ngx.req.get_body_data()
    if data then
        return data
    end
    local name = ngx.req.get_body_file()
    if not name then
        return ""
    end
    local file = assert(io.open(name, "rb"))
    data = file:read("*a")
    file:close()
    return data
end

local function answer(status, text)
    ngx.status = status
    ngx.print(text)
    return ngx.exit(status)
end

function M.change()
    local change, fault = cjson.decode(body())
    if not change then
        return answer(400, "not JSON: " .. tostring(fault))
    end
    local generation = change.generation
    for host, depth in pairs(change.depths) do
        local ok, why = routes:safe_set("d:" .. host, depth, 0, generation)
        if not ok then
            return answer(507, why)
        end
    end
    for uri, pool in pairs(change.set) do
        local ok, why = routes:safe_set("p:" .. uri, pool, 0, generation)
        if not ok then
            return answer(507, why)
        end
    end
    for _, uri in ipairs(change.delete) do
        routes:delete("p:" .. uri)
    end
    return answer(200, routes:get("epoch") or "")
end

-- A filling is complete: what came with an older generation is gone, and requests need not wait any longer.
function M.complete()
    local filling = cjson.decode(body())
    for _, key in ipairs(routes:get_keys(0)) do
        if key ~= "epoch" then
            local _, generation = routes:get(key)
            if (generation or 0) ~= filling.generation then
                routes:delete(key)
            end
        end
    end
    routes:safe_set("epoch", filling.epoch)
    return answer(200, filling.epoch)
end

function M.epoch()
    return answer(200, routes:get("epoch") or "")
end

function M.dump()
    local pools = {}
    for _, key in ipairs(routes:get_keys(0)) do
        if key:sub(1, 2) == "p:" then
            pools[key:sub(3)] = routes:get(key)
        end
    end
    local text = next(pools) and cjson.encode(pools) or "{}"
    return answer(200, text)
end

return M
