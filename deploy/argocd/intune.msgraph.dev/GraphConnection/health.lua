-- What Argo CD shows of a GraphConnection: it goes by the reason of its conditions.

-- Whatever else keeps it from being Ready comes or passes without anybody's help, or is about to be created.
local degraded = {
  CredentialsRejected = true,
  PermissionDenied = true,
  TenantNotLicensed = true,
  TenantMismatch = true,
  IdentityNotAllowed = true,
  SecretInvalid = true,
  ServiceAccountInvalid = true,
}

local progressing = {
  SecretNotFound = true,
  ServiceAccountNotFound = true,
  AccessNotGranted = true,
  PrincipalNotFound = true,
  Throttled = true,
  GraphUnavailable = true,
}

local function told(status, condition)
  return { status = status, message = (condition.reason or "") .. ": " .. (condition.message or "") }
end

local waiting = { status = "Progressing", message = "The operator has not looked at this generation yet" }
local generation = (obj.metadata or {}).generation
local status = obj.status or {}
if generation == nil or status.observedGeneration ~= generation then
  return waiting
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  if condition.type ~= nil then
    conditions[condition.type] = condition
  end
end
local ready = conditions.Ready or {}

if ready.reason == nil or (ready.observedGeneration or generation) ~= generation then
  return waiting
end
if degraded[ready.reason] then
  return told("Degraded", ready)
end
if progressing[ready.reason] then
  return told("Progressing", ready)
end
-- Connected, or a reason of a later version.
if (conditions.Stalled or {}).status == "True" then
  return told("Degraded", ready)
end
if ready.status == "True" then
  return told("Healthy", ready)
end
return told("Progressing", ready)
