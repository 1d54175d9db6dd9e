// Allocations, streams and objects of the stand-ins that are alive.
#pragma once

int fake_live();
