-- What the router itself answers, in the words of contract/routing.md section 10.

local routes = require "table_of_routes"

local M = {}

local NO_STORE = "no-cache, no-store"

local REASONS = {
    [400] = "Bad Request",
    [404] = "Not Found",
    [502] = "Bad Gateway",
    [503] = "Service Unavailable",
}

function M.refuse(status, error, message, cache)
    ngx.status = status
    ngx.header["Content-Type"] = "text/plain; charset=utf-8"
    ngx.header["X-Content-Type-Options"] = "nosniff"
    ngx.header["X-Cf-RouterError"] = error
    if cache then
        ngx.header["Cache-Control"] = cache
    end
    ngx.var.router_error = error
    ngx.print(status, " ", REASONS[status], ": ", message, "\n")
    return ngx.exit(status)
end

function M.unknown_route(host)
    return M.refuse(404, "unknown_route", "Requested route ('" .. host .. "') does not exist.", NO_STORE)
end

function M.no_such_instance(index, guid, host, kind)
    local message = ("Requested instance ('%s') with %sguid ('%s') does not exist for route ('%s')"):format(
        index, kind, guid, host)
    return M.refuse(400, "unknown_route", message, NO_STORE)
end

function M.invalid_header(error, name)
    return M.refuse(400, error, "Invalid " .. name .. " Header", NO_STORE)
end

function M.empty_host()
    return M.refuse(400, "empty_host", "Request had empty Host header", "public,max-age=2")
end

function M.not_filled(host)
    ngx.header["Retry-After"] = "1"
    local message = "Requested route ('" .. host .. "') has no available endpoints."
    return M.refuse(503, "no_endpoints", message, "public,max-age=2")
end

function M.endpoint_failure()
    local tried = ngx.var.upstream_addr or ""
    local last = tried:match("([^, ]+)$") or "none"
    local why = ngx.var.no_endpoint ~= "" and ngx.var.no_endpoint or ("dial or read " .. last)
    local error = "endpoint_failure (" .. why .. ")"
    return M.refuse(502, error, "Registered endpoint failed to handle the request.")
end

-- From now on load balancers are told to go elsewhere; requests are served as before.
function M.drain()
    ngx.shared.draining:set("since", ngx.now())
    return ngx.exit(204)
end

function M.health()
    local word = "ok"
    if ngx.shared.draining:get("since") then
        word = "draining"
    elseif not routes.filled() then
        word = "no routes yet"
    end
    ngx.header["Content-Type"] = "text/plain; charset=utf-8"
    ngx.header["Cache-Control"] = "private, max-age=0"
    ngx.header["Expires"] = "0"
    ngx.status = word == "ok" and 200 or 503
    ngx.print(word, "\n")
    return ngx.exit(ngx.status)
end

return M
