-- What Argo CD shows of a ComplianceManagementPartner: it goes by the reason of its conditions.

local health = {
  InSync = "Healthy",
  DriftDetected = "Healthy",
  Cleaning = "Progressing",
  ConnectionNotFound = "Progressing",
  Throttled = "Progressing",
  GraphUnavailable = "Progressing",
  Verifying = "Progressing",
  PartnerConflict = "Degraded",
  TenantChanged = "Degraded",
  PartnerNotFound = "Degraded",
  PartnerAmbiguous = "Degraded",
  PermissionDenied = "Degraded",
  TenantNotLicensed = "Degraded",
  RejectedByGraph = "Degraded",
  UpdateIneffective = "Degraded",
  UnsupportedTarget = "Degraded",
}

-- The reasons for which a GraphConnection is Degraded.
local degraded_connection = {
  "CredentialsRejected",
  "PermissionDenied",
  "TenantNotLicensed",
  "TenantMismatch",
  "IdentityNotAllowed",
  "SecretInvalid",
  "ServiceAccountInvalid",
}

local function told(status, condition)
  return { status = status, message = (condition.reason or "") .. ": " .. (condition.message or "") }
end

-- Scripts have no string library, but strings compare byte by byte, and no text has a byte 255.
local function starts_with(text, start)
  return text >= start and text < start .. "\255"
end

-- The reason of its connection opens the message of a partner that waits for it.
local function of_connection(message)
  local name = ((obj.spec or {}).connectionRef or {}).name or ""
  for _, reason in ipairs(degraded_connection) do
    if starts_with(message, "GraphConnection " .. name .. " is not ready (" .. reason .. ")") then
      return "Degraded"
    end
  end
  return "Progressing"
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
local synced = conditions.Synced or {}

if ready.reason == "Cleaning" then
  return told("Progressing", ready)
end
-- Ready stays as it was when a resource is suspended, or goes.
if synced.reason == "Suspended" then
  return told("Suspended", synced)
end
if ready.reason == nil or (ready.observedGeneration or generation) ~= generation then
  return waiting
end
if ready.reason == "ConnectionNotReady" then
  return told(of_connection(ready.message or ""), ready)
end

local found = health[ready.reason]
if found == nil then
  -- A reason of a later version.
  if (conditions.Stalled or {}).status == "True" then
    found = "Degraded"
  else
    found = "Healthy"
  end
end
if found == "Healthy" and ready.status ~= "True" then
  found = "Progressing"
end
return told(found, ready)
