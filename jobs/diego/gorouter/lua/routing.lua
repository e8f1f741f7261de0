-- A request's way: which pool answers, which endpoint of it, with which headers (contract/routing.md 9, 11, 12).

local answers = require "answers"
local balancer = require "ngx.balancer"
local routes = require "table_of_routes"

local failures = ngx.shared.failures
local counters = ngx.shared.counters

-- How many seconds a request waits for the routes of a router that has just started.
local M = { patience = 15 }

local ATTEMPTS = 3
local FAILED_SECONDS = 30
local FIRST_STEP, LONGEST_STEP = 0.02, 0.25

local GUID = "^%x%x%x%x%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$"

-- Requests that each endpoint is answering now, of this worker.
local active = {}

local function is_guid(text)
    return text:find(GUID) ~= nil and text == text:lower()
end

-- An endpoint list narrowed to the instance that a header names; answers the request itself when it cannot be.
local function narrowed(endpoints, host)
    local wanted = ngx.var.http_x_cf_app_instance
    if wanted then
        local guid, index = wanted:match("^([^:]+):(%d+)$")
        if not guid or not is_guid(guid) then
            return answers.invalid_header("invalid_cf_app_instance_header", "X-CF-App-Instance")
        end
        local found = {}
        for _, endpoint in ipairs(endpoints) do
            if endpoint.app == guid and endpoint.index == index then
                found[#found + 1] = endpoint
            end
        end
        if #found == 0 then
            return answers.no_such_instance(index, guid, host, "")
        end
        ngx.req.clear_header("X-CF-APP-INSTANCE")
        return found
    end
    wanted = ngx.var.http_x_cf_process_instance
    if wanted then
        local guid, index = wanted:match("^([^:]+):?(%d*)$")
        if not guid or not is_guid(guid) then
            return answers.invalid_header("invalid_cf_process_instance_header", "X-CF-Process-Instance")
        end
        local found = {}
        for _, endpoint in ipairs(endpoints) do
            if endpoint.process == guid and (index == "" or endpoint.index == index) then
                found[#found + 1] = endpoint
            end
        end
        if #found == 0 then
            return answers.no_such_instance(index, guid, host, "process ")
        end
        return found
    end
    return endpoints
end

-- The order in which the endpoints are tried.
local function in_order(pool, endpoints, uri)
    local size = #endpoints
    if size == 1 then
        return endpoints
    end
    local first = counters:incr(uri, 1, math.random(0, size - 1)) or math.random(0, size - 1)
    local healthy, failed = {}, {}
    for step = 0, size - 1 do
        local endpoint = endpoints[(first + step) % size + 1]
        local list = failures:get(endpoint.address) and failed or healthy
        list[#list + 1] = endpoint
    end
    if pool.algorithm == "least-connection" then
        table.sort(healthy, function(one, other)
            return (active[one.address] or 0) < (active[other.address] or 0)
        end)
    end
    for _, endpoint in ipairs(failed) do
        healthy[#healthy + 1] = endpoint
    end
    return healthy
end

-- A sticky session's instance goes first.
local function sticky_first(endpoints)
    if not ngx.var.cookie_JSESSIONID then
        return endpoints
    end
    local wanted = ngx.var.cookie___VCAP_ID__
    if not wanted then
        return endpoints
    end
    for number, endpoint in ipairs(endpoints) do
        if endpoint.id == wanted then
            local ordered = { endpoint }
            for other, one in ipairs(endpoints) do
                if other ~= number then
                    ordered[#ordered + 1] = one
                end
            end
            return ordered
        end
    end
    return endpoints
end

local function fresh_uuid()
    local id = ngx.var.request_id
    local variant = ("89ab"):sub(id:byte(17) % 4 + 1, id:byte(17) % 4 + 1)
    return ("%s-%s-4%s-%s%s-%s"):format(
        id:sub(1, 8), id:sub(9, 12), id:sub(14, 16), variant, id:sub(18, 20), id:sub(21, 32))
end

local function set_headers()
    local request_id = fresh_uuid()
    ngx.var.vcap_request_id = request_id
    ngx.req.set_header("X-Vcap-Request-Id", request_id)
    if not ngx.var.http_x_forwarded_proto then
        ngx.req.set_header("X-Forwarded-Proto", ngx.var.scheme)
    end
    if not ngx.var.http_x_request_start then
        ngx.req.set_header("X-Request-Start", ("%d"):format(ngx.req.start_time() * 1000))
    end
end

-- Who the request is about to go to, for the headers that the app gets and for the log.
local function name_endpoint(endpoint)
    ngx.var.app_id, ngx.var.app_index = endpoint.app, endpoint.index
    ngx.var.instance_id = endpoint.id ~= "" and endpoint.id or endpoint.address
end

-- Looks often at first, since a nginx that was killed gets its routes back at once; many may wait here.
local function await_routes(name)
    local waited, step = 0, FIRST_STEP
    while not routes.filled() do
        if waited >= M.patience then
            return answers.not_filled(name)
        end
        ngx.sleep(step)
        waited = waited + step
        step = math.min(step * 1.5, LONGEST_STEP)
    end
end

-- Before anything: the load balancer's own probe, and the requests that become a raw connection.
function M.enter()
    if ngx.var.http_user_agent == "HTTP-Monitor/1.1" then
        return answers.health()
    end
    local upgrade, connection = ngx.var.http_upgrade, ngx.var.http_connection
    if upgrade and connection and upgrade:lower() == "websocket" and connection:lower():find("upgrade", 1, true) then
        return ngx.exec("@websocket")
    end
    return M.route()
end

function M.route()
    local host = ngx.var.http_host
    if not host or host == "" then
        return answers.empty_host()
    end
    local name = host:gsub(":%d+$", "")
    await_routes(name)
    local path = ngx.var.request_uri:match("^[^?]*")
    path = path:gsub("^%w+://[^/]*", "")
    local pool, uri = routes.find(name, path)
    if not pool then
        return answers.unknown_route(name)
    end
    local endpoints = narrowed(pool.endpoints, name)
    ngx.ctx.endpoints = sticky_first(in_order(pool, endpoints, uri))
    ngx.ctx.attempts = 0
    name_endpoint(ngx.ctx.endpoints[1])
    ngx.var.route_uri = uri
    set_headers()
    return nil
end

local function leave(endpoint)
    if endpoint then
        local left = (active[endpoint.address] or 1) - 1
        active[endpoint.address] = left > 0 and left or nil
    end
end

-- Each attempt at an endpoint; the same one is never tried twice.
function M.balance()
    local ctx = ngx.ctx
    if balancer.get_last_failure() and ctx.endpoint then
        failures:set(ctx.endpoint.address, true, FAILED_SECONDS)
        leave(ctx.endpoint)
        ctx.endpoint = nil
    end
    ctx.attempts = ctx.attempts + 1
    local endpoint = ctx.endpoints[ctx.attempts]
    if not endpoint then
        ngx.var.no_endpoint = "No endpoints available"
        return ngx.exit(502)
    end
    if ctx.attempts == 1 then
        balancer.set_more_tries(math.min(ATTEMPTS, #ctx.endpoints) - 1)
    else
        name_endpoint(endpoint)
        balancer.recreate_request()
    end
    local ip, port = endpoint.address:match("^(.*):(%d+)$")
    local ok, why = balancer.set_current_peer(ip, tonumber(port))
    if not ok then
        ngx.log(ngx.ERR, "endpoint ", endpoint.address, ": ", why)
        return ngx.exit(502)
    end
    ctx.endpoint = endpoint
    active[endpoint.address] = (active[endpoint.address] or 0) + 1
    return nil
end

local function sticky_cookie(cookie, id)
    local attributes = { "__VCAP_ID__=" .. id, "Path=/", "HttpOnly" }
    for attribute in cookie:gmatch(";%s*([^;]+)") do
        local name = attribute:match("^[^=]+"):lower()
        if name == "secure" or name == "samesite" or name == "expires" or name == "partitioned"
            or (name == "max-age" and attribute:find("=%s*%-")) then
            attributes[#attributes + 1] = attribute
        end
    end
    return table.concat(attributes, "; ")
end

-- What the client gets on top of the app's own headers.
function M.answer_headers()
    if not ngx.header["X-Vcap-Request-Id"] and ngx.var.vcap_request_id ~= "" then
        ngx.header["X-Vcap-Request-Id"] = ngx.var.vcap_request_id
    end
    ngx.header["X-CF-Proxy-Signature"] = nil
    local endpoint, cookies = ngx.ctx.endpoint, ngx.header["Set-Cookie"]
    if not endpoint or endpoint.id == "" or not cookies then
        return
    end
    cookies = type(cookies) == "table" and cookies or { cookies }
    local session
    for _, cookie in ipairs(cookies) do
        if cookie:find("^__VCAP_ID__=") then
            return
        end
        session = cookie:find("^JSESSIONID=") and cookie or session
    end
    if session then
        cookies[#cookies + 1] = sticky_cookie(session, endpoint.id)
        ngx.header["Set-Cookie"] = cookies
    end
end

function M.log()
    leave(ngx.ctx.endpoint)
    local began = ngx.req.start_time()
    local whole = math.floor(began)
    ngx.var.began = os.date("!%Y-%m-%dT%H:%M:%S", whole) .. (".%09dZ"):format((began - whole) * 1e9)
    local took = ngx.now() - began
    ngx.var.took = ("%.6f"):format(took)
    local upstream = tonumber((ngx.var.upstream_response_time or ""):match("([%d.]+)$"))
    ngx.var.own_time = upstream and ("%.6f"):format(math.max(0, took - upstream)) or '"-"'
end

return M
