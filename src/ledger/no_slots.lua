-- Used instead of slots.lua if the account has no cap: nothing is counted, and every job may be submitted.
local slots = nil
local function whole(number) return string.format('%.0f', number) end
local function hold() end
local function hold_anew() end
local function release() end
local function take() return true end
