"""The job spec and what surrounds it. Depends on pydantic alone, so that SDK and API never meet torch."""
