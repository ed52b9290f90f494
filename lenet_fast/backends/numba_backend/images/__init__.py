"""Operations on images before they enter a network."""
