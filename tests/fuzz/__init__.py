"""Generated requests for every call of the OpenAPI document, each answer checked: `make fuzz`."""
